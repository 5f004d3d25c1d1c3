"""The management of a running server: probes of its health, and the requests of `carboy ctl`."""
