"""Tables and figures of Neyshabur 2020, one file each."""
