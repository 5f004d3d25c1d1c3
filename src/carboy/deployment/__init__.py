"""Write the files that other programs need to run an app, or to stand in front of it: web servers,
WSGI servers, systemd, containers, hosting platforms.

`facts` collects what the app says about itself. Each generator is a function that returns
`GeneratedFile`s made of these facts, by a template in the folder `templates`. The decorator
`generators.generator` makes it a command of `carboy`, which writes the files.
"""
