"""The management of a running server: probes of its health, and the requests of `carboy ctl`.

In the supervisor:

    management        all of it, as the supervisor uses it
    managementserver  its HTTP server
    health            what is known of the health of the workers
    probes            the responses to probes; `appprobes` answers them on the app's port
    controlpath       the control socket of a server
    controlrequests   the requests of `carboy ctl`; `versionrequests` those about versions
    modelcontrol      loads and unloads models in all workers
    modelrollout      changes versions of models in all workers
    questions         asks a worker, and answers it

In each worker:

    workertopics  what it answers
    loglevels     changes the levels of loggers

The commands:

    ctl              `carboy ctl`; `ctltexts` writes the responses for people
    versioncommands  `carboy models push`, `switch` and so on; `versiontexts` likewise
    controlclient    finds a server, and sends it requests
"""
