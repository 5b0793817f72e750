"""The fault campaign: faults drawn at random hit a tiny study and the plates of an inbox, and no byte may differ."""
