# Kept empty: importing one driver must not load the others on a device.
