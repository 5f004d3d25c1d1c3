"""Turn requests into responses, and what all packages above need for that.

To read this package, begin with the module `dispatch`, which handles a request in a sequence of
steps. `fastpath` has the same sequence in one function, for apps in which no step is overridden;
`overrides` decides whether that function may be used. Around them, requests and responses:

    routing         URL -> rule and arguments
    urls            arguments -> URL: `url_for`
    errorhandling   finds the error handler for an exception
    problemdetails  errors as JSON (RFC 9457)
    formparser      form bodies; `spooledfile` holds an uploaded file, `percentescapes` decodes
    statics         static files; `nosniff` is a header of them
    signing         signed cookies
    identity        who has sent a request
    trustedhosts    the hosts that a request may name
    eventloop       runs `async def` views and hooks
    firstrequest    what an app does at its first request in a process
    changetracking  notices changes that make cached decisions out of date
    deletion        attributes that are created on first access, and may be deleted
    ownviews        recognises carboy's own views; `ownpages` has the HTML that they share

Secrets, and what people read:

    masking     masks secrets in texts; `logmasking` in the records of loggers; `objectfields`
                finds them in objects
    keyform     the form of an API key, by which it is masked
    weakkeys    secret keys that can be guessed
    tracebacks  tracebacks that begin in the user's code
    advice      sentences that say how to correct a mistake
    bytesizes   sizes such as `64M`
    textfiles   reads text files of projects; `texttemplates` makes them

The process and its surroundings:

    annotations      signatures and annotations of users' functions
    flasknames       names that Flask's modules have only by their imports
    otherflask       warns of code that uses the installed Flask
    foreignservers   refuses what models do not survive under uWSGI and mod_wsgi
    subinterpreters  the same for sub-interpreters
    forks            what a forked process must change
    filelocks        locks on files that forked processes do not keep
    cgroups          limits of a container; `processmemory` says what a process uses
    reachability     who can reach an address
    runtimefolders   private folders for sockets
    disksync         waits until the disk has what was written
    messagelines     messages between processes of one server
"""
