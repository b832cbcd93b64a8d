# Felix is ready and every BGP session that the datastore asks for is Established.
include:
  - calico.network

The node is ready:
  calico.node_ready:
    - require:
      - sls: calico.service
      - sls: calico.network
