"""The versions of a model: one computes the answers, others may be loaded beside it.

modelversion   one version: what computes it, and its queue
"""
