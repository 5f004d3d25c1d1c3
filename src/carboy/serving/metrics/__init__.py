"""The metrics of `carboy serve`: what `/metrics` shows, for all workers together.

    worker:      a request ends --> requestcounts --.
                 a batch is computed (models) ------+--> sharedtable: counters in shared memory
                 4 times a second: sampling --------'                 |
    supervisor:  servermetrics reads the tables of all workers, keeps the totals of those that have
                 ended --> exposition: text in the format of Prometheus

Each worker process has a table of its own, and only this process writes to it. The memory of the
table belongs to the supervisor too, so that the counts of a process that is killed are not lost.
`families` lists the metrics; `workermetrics` and `modelseries` write them to a worker's table.
"""
