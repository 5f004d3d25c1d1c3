"""Replicas on a Ray cluster: `carboy serve --on ray`.

    web worker          a driver of Ray, which forms batches as it does for replicas on its machine
      cluster           the thread that keeps the connection, and says what this process wants
      rayreplicas       sends each batch to a replica, and waits for the results
      rayitems          a stream of a replica
      nodesocket        the socket of a replica on this node, for batches without a call of Ray
    controller          one actor of the app: starts, replaces and ends replicas
      controllerstate   its decisions, without Ray
      scaling           how many replicas there should be
    replicaactor        an actor with a model, on whichever node has the resources

    rayconnection       connects a process with Ray; `greeting` finds out what else answers
    codedigest          notices a node with other code
    ending              ends all of an app on a cluster

A web worker and the controller exchange whole states: the worker what it wants and how much waits,
the controller what there is. So either may be replaced at any time, and learns the rest from the
next message. Batches, results and these messages are bytes, which `messages` and
`models.replicas.batches` define; nothing of a client is pickled.

Ray is imported when the first of these processes needs it, and not with this package.
"""
