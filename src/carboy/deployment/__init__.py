"""Write the files that other programs need to run an app, or to stand in front of it: web servers,
WSGI servers, systemd, containers, hosting platforms.

`facts` has what the app says about itself. A generator is a function that makes `GeneratedFile`s of
these facts, by a template in the folder `templates`. The decorator `generators.generator` makes a
command of `carboy` of the function, which writes the files.
"""
