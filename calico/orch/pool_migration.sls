# salt-run state.orch calico.orch.pool_migration: pools that the pillar does not list give way to those it does.
# What `calico.pool_migration` of the runner takes, from pillar='{pool_migration: {old: 172.20.0.0/16}}'.
Pools are the ones that the pillar lists:
  calico.orchestrated:
    - name: pool_migration
    - arguments: {{ salt["pillar.get"]("pool_migration", {}) | json }}
