"""Our own Lambda runtime, `python -m shim.runtime`: it takes the place of AWS's runtime client, hands bytes through, and streams."""
