"""The threads of a server: which thread runs the event loop, and how many views run at once.

leader   the leader/followers pattern: which thread runs the event loop
pool     starts and stops the threads
monitor  notices a leading thread that is blocked
slots    how many views run at once
timing   which views block
stacks   the stacks of all threads, for people
"""
