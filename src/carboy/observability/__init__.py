"""The log of an app: formats, handlers, the file that several processes share, timers.

    options     the config keys `LOG_*` and the environment variables `CARBOY_LOG_*`, checked
    setup       adds the handlers that the options ask for, once per process
    formatters  records as text or as JSON: one line each, without secrets and control characters
    handlers    `LineHandler`, which hands whole lines to a target: stderr, or a log file
    logfile     a log file that several processes may write to, and that is rotated without loss
    timer       `with app.timer("model"):`

An app that sets none of the keys keeps Flask's logging, and loads none of these modules.
"""
