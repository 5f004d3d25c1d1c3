"""Write the files that other programs need to run an app, or to stand in front of it: web servers,
WSGI servers, systemd, containers, hosting platforms.

`facts` has what the app says about itself. A generator is a function that makes `GeneratedFile`s of
these facts, by a template in the folder `templates`. The decorator `generators.generator` makes a
command of `carboy` of the function, which writes the files.

    nginxfiles      `carboy nginx`; `apachefiles` and `caddyfiles` likewise, by `website`
    gunicornfiles   `carboy gunicorn`; `uwsgifiles` likewise, by `serveroptions`
    systemdfiles    `carboy systemd`
    dockerfiles     `carboy docker`; `imagepackages` and `ignoredfiles` say what an image contains
    wsgifile        `carboy wsgi`
    collectfacts    loads the app for all of them
    configvalues    the values of config keys that files depend on, checked
    serversettings  the server's settings that the environment sets
    specialroutes   routes that need more of a web server
    appmemory       how much memory an app takes
    projectfiles    the files of a project
    generatedfiles  writes files: all or none
    platforms       `carboy deploy`
    checks          `carboy check`
"""
