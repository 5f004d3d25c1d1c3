"""The threads of a server: leader/followers, timing of views, view slots."""
