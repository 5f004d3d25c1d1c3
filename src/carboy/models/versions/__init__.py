"""The versions of a model: one computes the answers, others may be loaded beside it.

modelversion    one version: what computes it, and its queue
versionset      all versions of a model in this process, and changing from one to another
sourcewatch     the thread that notices new versions
memoryroom      whether a further version fits into the memory
versionstate    the states of a version, and how one follows another
canaries        versions that compute a share of the requests
shadow          a version whose answers are compared and not sent
versionoptions  the options of a model about its versions
"""
