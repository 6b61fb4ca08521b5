"""What Ansible needs to run its tasks over this package: a connection plugin, and the keeper of its connections.

Ansible runs each task for each host in a process of its own, which ends with the task.  The plugin, in ``collection/``,
runs in those processes, in Ansible's Python, and imports the standard library and Ansible alone.  It asks the keeper
(:mod:`twisted_rsh.ansible.keeper`), which outlives the tasks and holds one connection to each host.
"""
