"""Simulate how a model is served under a load, on a virtual clock: what `carboy models simulate`
computes.

    arrivals     when requests arrive: by chance, or as in an access log
    accesslines  reads the requests for a model from an access log
    costcurve    how long `predict` takes for a batch of n inputs: given, or measured
    webcost      how long a web worker is busy with a request apart from `predict`, measured
    question     what the command is asked
    study        answers a question about a model
    plan         what is simulated: workers, replicas, batches, waits, limits
    simulator    moves the clock from event to event
    outcome      what has become of the requests: latencies, batches, refusals
    search       the cheapest plan that keeps a latency
    report       writes answers as text, and as JSON values
    chart        draws outcomes as SVG, and in a terminal

Batches are not modelled: each simulated worker has a `QueueState` with a `Batcher`, the code that
decides in `carboy serve` which predictions form a batch and when, and the simulator passes it the
virtual time. It also draws the same conclusions as the threads of the queue: `queue/threads.py`
sleeps where the simulator moves the clock.
"""
