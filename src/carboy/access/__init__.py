"""Who may use which route of an app, how often, and what web pages may do.

    accessdeclaration   what a route, blueprint, model or app declares: `access="key"`,
                  `rate="100/minute"`
    keytext       the text of a key, its public id and its hash
    apikey        a key as it is stored: name, models, expiry
    keystore      the keys of an app, from its configuration and a file that may change
    keyfile       changes that file, for `carboy keys`
    rates         the texts of rates
    ratelimit     counts requests, and says why one is refused
    tokenbuckets  the arithmetic of rates
    tokensources  where the tokens of a process come from
    tokenleases   tokens that several processes share
    guard         decides whether a request may reach the view or model of its route
    table         the guards of an app, by route
    routedeclarations   which declaration counts for a route
    seenfiles     the files of keys that have existed since the server was started
    cors          the sites whose pages may use a route: `cors="https://shop.example"`
    localhost     whether a request may come from a foreign page, against the will of the user
    strictheaders the headers by which an app restricts its own pages
    webaddresses  the texts of the headers Origin and Host
    browserrules  what an app lets web pages do, by all of these
    notices       the logger of messages about keys and rates
    host          the methods by which the class `Carboy` has all that

`core.dispatch` asks the table before hooks and view; `serving.predictions` asks the guard of a
model before the body of a request is read. An app that declares nothing, and has no models, has no
table.
"""

from __future__ import annotations
