# salt-run state.orch calico.orch.topology: mesh, route reflectors and peers become those of the pillar.
# What `calico.topology` of the runner takes, from pillar='{topology: {prune: true}}'.
The BGP topology is the one of the pillar:
  calico.orchestrated:
    - name: topology
    - arguments: {{ salt["pillar.get"]("topology", {}) | json }}
