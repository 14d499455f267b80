# What device tests call their fleet and epoch.
EPOCH = b"epoch-01"
ISS = "acme"
