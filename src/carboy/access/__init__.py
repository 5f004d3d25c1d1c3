"""Who may use an app: keys, rates, and what browsers may do for the pages of other sites.

The modules of this package know no application and no server.
"""
