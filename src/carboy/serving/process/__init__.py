"""The supervisor process, the processes that it starts, and the commands that start it.

The server:

    command         `carboy serve`
    supervisor      starts, watches, replaces and stops the workers
    worker          a worker process: the HTTP server, and the app behind it
    workerprocess   a worker as the supervisor sees it, by `childprocess` as all that it starts
    capacity        how many workers the machine carries
    sockets         reserves the addresses before anything is loaded
    serversignals   what each signal asks for; `hangup` finds out what SIGHUP means
    serverstate     the state of the server for other threads
    supervisorlog   the log files; `logpipe` brings the lines of the workers
    supervisorlink  a worker's connection with the supervisor, by `messagesocket` on the other side
    tokenloans      how workers lease tokens of rate limits
    systemd         tells systemd what the server does
    apploading      what each process does that loads the app
    debugmode       switches debug mode off
    workerlimits    a worker's limits on requests, memory and the time of views
    computethreads  on how many threads numerical libraries compute

Replicas of models, in processes of their own:

    replicasupervisor  the supervisor's part: a pool of processes for each version of a model
    replicapool        such a pool; `replicaprocess` is what runs in the process
    replicafolder      the folder with the sockets of replicas
    replicaexchange    versions for which there is no memory beside the version before
    computedevices     which device a process sees
    modelscommand      `carboy models serve`, with `modelssupervisor` and `modelkeeper`
    raycommand         `carboy ray`: replicas on a cluster
    clusterreplicas    the supervisor's part for those; `clusterapp` loads the app there
"""
