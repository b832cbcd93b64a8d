# salt-run state.orch calico.orch.upgrade: all hosts run the release that their pillar wants.
# What `calico.upgrade` of the runner takes, from pillar='{upgrade: {tgt: …, batch: 25%}}'.
{%- set given = salt["pillar.get"]("upgrade", {}) %}
{#- The hosts find the formula where it was found for this. #}
{%- if given is mapping and saltenv != "base" %}{% set given = dict({"saltenv": saltenv}, **given) %}{% endif %}

All hosts run the release that their pillar wants:
  calico.orchestrated:
    - name: upgrade
    - arguments: {{ given | json }}
