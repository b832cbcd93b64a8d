# What the cluster keeps in its datastore is as the pillar says.
include:
  - calico.service

# Each has what the check has made of calico:network, and one reading of the datastore. A minion that
# calico:network:managed_by does not name leaves alone what is for all.
IP pools are in the datastore:
  calico.pools:
    - require:
      - sls: calico.service

Felix' cluster-wide settings are in the datastore:
  calico.felix:
    - require:
      - sls: calico.service

BGP peers are in the datastore:
  calico.peers:
    - require:
      - sls: calico.service

# Every node its own. After the peers, which may choose it by its labels: a cluster id takes it out of
# the mesh. Before the settings, which may switch the mesh off.
The node is labelled:
  calico.node:
    - require:
      - sls: calico.service
      - calico: BGP peers are in the datastore

BGP settings are in the datastore:
  calico.bgp:
    - require:
      - sls: calico.service
      - calico: BGP peers are in the datastore
      - calico: The node is labelled

# After the mesh was switched on, where it takes their place.
No other BGP peers are in the datastore:
  calico.other_peers_absent:
    - require:
      - sls: calico.service

Other resources are in the datastore:
  calico.resources:
    - require:
      - sls: calico.service
