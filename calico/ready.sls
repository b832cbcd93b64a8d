# Felix is ready, every BGP session that the datastore asks for is Established, blocks have routes.
include:
  - calico.network

# After calico.network by the order of the includes, not by a requisite: that would fail where another
# minion writes the pools and calico.network holds no state.
The node is ready:
  calico.node_ready:
    - require:
      - sls: calico.service
