"""Replicas: where the batches of a model are computed.

replica    the interface that the queue uses
inprocess  a replica in this process
source     what the model is built from: a class or function, and perhaps a saved model
checkup    whether a model is ready, for probes

Replicas in other processes of this machine, each of which computes one batch at a time for all
processes that have some:

tokens       which replica is free: a pipe from all replicas to all who have a batch
frames       the messages with a batch and its results
supervision  the messages by which a supervisor starts replicas and says where they are
"""
