"""`carboy check`: find mistakes in an app, its configuration and its project before users do.

Each check is a function with a stable code, registered by `checkregistry.check`. The command, the
exit code, the JSON and the table in docs/howto/check.md are the same for all of them. Codes of the
running app and its configuration have the numbers 001 to 099, those of files and repositories 101
to 199. A code is never given to another check.

    checkcommand      the command
    appchecks         of hooks and extensions, which `appcode` finds
    configchecks      of the configuration, whose values `places` gets
    requestchecks     of requests from other sites
    serverchecks      of limits, addresses and memory
    startchecks       of how the app is started, which `startedprograms` finds
    dockerfilechecks  of Dockerfiles, which `deploymentfiles` reads
    folderchecks      of who may change files
    gitchecks         of what is committed, which `gitrepository` reads
    modelfilechecks   of model files
"""
