"""Replicas: where the batches of a model are computed.

replica    the interface that the queue uses
inprocess  a replica in this process
source     what the model is built from: a class or function, and perhaps a saved model
checkup    whether a model is ready, for probes
placing    in which process a model is computed

Replicas in other processes of this machine, each of which computes one batch at a time for all
processes that have some:

otherprocesses      what replicas on this machine and on a cluster have in common
remote              the replicas as a process sees them that has batches
process             the work of a replica's process
tokens              which replica is free: a pipe from all replicas to all who have a batch
tokentimer          when a replica writes the next token: shortly before it is free
batches             batches and results as messages
rawbody             the body of a request that the replica decodes
packedfailures      exceptions on their way back; `exceptiontexts` has their texts
posting             batches whose results an event loop receives
replicaconnection   a connection to one replica
replicaitems        a stream that a replica computes
frames              how messages are sent: on a socket, large arrays through shared memory
arena               that memory
devicelock          a lock on a device that replicas share
devicefaults        errors after which a device cannot compute any more
supervision         the messages by which a supervisor starts replicas and says where they are
modelssocketclient  the client of the socket on which a supervisor says that
modelssocket        where another server finds this socket
"""
