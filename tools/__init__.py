"""Development tools: the local droplet, the demo and the generated documents."""
