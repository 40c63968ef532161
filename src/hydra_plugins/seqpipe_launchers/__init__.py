"""Hydra's launchers of seqpipe: the jobs of a sweep in several processes.

Hydra imports every module of `hydra_plugins` at each start, except those whose name starts with an
underscore: these stay light, and import what they need as a sweep starts.
"""
