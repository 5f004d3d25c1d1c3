"""Who may use which route of an app, and how often."""
