"""The threads of a server: leader/followers, view timing, and a limit on running views."""
