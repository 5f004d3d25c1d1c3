"""Replicas: where the batches of a model are computed.

replica    the interface that the queue uses
inprocess  a replica in this process
source     what the model is built from: a class or function, and perhaps a saved model
checkup    whether a model is ready, for probes
"""
