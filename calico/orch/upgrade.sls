# salt-run state.orch calico.orch.upgrade: all hosts run the release that their pillar wants.
# What `calico.upgrade` of the runner takes, from pillar='{upgrade: {tgt: …, batch: 25%}}'.
All hosts run the release that their pillar wants:
  calico.orchestrated:
    - name: upgrade
    - arguments: {{ salt["pillar.get"]("upgrade", {}) | json }}
