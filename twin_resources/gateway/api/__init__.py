"""Handle the routes, keys and limits of the gateway, and the formats of other APIs."""
