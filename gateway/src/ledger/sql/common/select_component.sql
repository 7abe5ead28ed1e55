SELECT bytes FROM policy_component WHERE digest = ?
