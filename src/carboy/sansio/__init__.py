"""Names that exist so that Flask's module paths resolve: `carboy.sansio.app.App` and so on."""
