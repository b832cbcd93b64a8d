# What the cluster keeps in its datastore is as the pillar says.
{%- from "calico/map.jinja" import calico with context %}
{%- set network = calico.network %}
{%- set labelled = calico.node.labels or calico.node.route_reflector_cluster_id %}
{#- Values of the wrong type are left to calico.checked, which has stopped the run by then. #}
{%- set writes = network.managed_by is string
                 and (network.managed_by == "*" or salt["match.compound"](network.managed_by)) %}

include:
  - calico.service

{%- if writes %}

IP pools are in the datastore:
  calico.pools_exact:
    - prune: {{ network.prune is sameas true }}
    - require:
      - sls: calico.service
{%-   if network.felix %}

Felix' cluster-wide settings are in the datastore:
  calico.felix_configuration:
    - require:
      - sls: calico.service
{%-   endif %}
{%-   if network.peers %}

BGP peers are in the datastore:
  calico.bgp_peers_exact:
    - prune: false
    - require:
      - sls: calico.service
{%-   endif %}
{%- endif %}
{%- if labelled %}

# Every node its own. After the peers, which may choose it by its labels: a cluster id takes it out of
# the mesh. Before the settings, which may switch the mesh off.
The node is labelled:
  calico.node_labels:
    - require:
      - sls: calico.service
{%-   if writes and network.peers %}
      - calico: BGP peers are in the datastore
{%-   endif %}
{%- endif %}
{%- if writes %}
{%-   if network.bgp or network.mesh is not none or network.as_number is not none %}

BGP settings are in the datastore:
  calico.bgp_configuration:
    - require:
      - sls: calico.service
{%-     if network.peers %}
      - calico: BGP peers are in the datastore
{%-     endif %}
{%-     if labelled %}
      - calico: The node is labelled
{%-     endif %}
{%-   endif %}
{%-   if network.prune is sameas true %}

# After the mesh was switched on, where it takes their place.
No other BGP peers are in the datastore:
  calico.bgp_peers_exact:
    - prune: true
    - require:
      - sls: calico.service
{%-   endif %}
{%-   if network.resources %}

Other resources are in the datastore:
  calico.resources_present:
    - require:
      - sls: calico.service
{%-   endif %}
{%- endif %}
