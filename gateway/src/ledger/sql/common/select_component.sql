SELECT bytes, signature FROM policy_component WHERE digest = ?
