"""The versions of a model: one computes the answers, another may be loaded beside it.

modelversion   one version: what computes it, and its queue
versionset     all versions of a model in this process, and changing from one to another
sourcewatch    the thread that notices new versions
"""
