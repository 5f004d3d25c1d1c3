"""The log of an app: formats, handlers, the file that several processes share, timers.

    keys             the names `LOG_*`, and where their values come from
    logoptions       the values, checked and converted
    setup            adds the handlers that the options ask for, once per process
    programhandlers  the handlers that a program has added itself
    formatters       records as text or as JSON, without secrets and control characters
    handlers         `LineHandler`, which hands whole lines to a target: stderr, or a log file
    boundedwrite     writes to pipes and terminals whose readers may have stopped
    logfile          a log file that several processes may write to, and that is rotated
    environkeys      what the server, the app and the log tell one another about a request
    requestid        the id by which the log lines of a request are found
    access           the lines of the access log
    timer            `with app.timer("model"):`
    bounds           bounds of histograms

An app that sets none of the keys keeps Flask's logging, and loads only `keys`.
"""
