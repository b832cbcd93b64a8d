# CNI hands pods to Calico: once calico-node runs, and no longer than the pillar says so.
{%- from "calico/map.jinja" import calico, cni with context %}

include:
  - calico.service

{%- if calico.cni.enabled is not sameas false %}

CNI is configured:
  file.managed:
    - name: {{ cni.path | json }}
    - source: salt://calico/files/cni.conf.jinja
    - template: jinja
    - mode: '0644'
    - makedirs: true
    - require:
      - sls: calico.service
{%- endif %}

# Of another release, of another directory, or of a time when it was switched on: the first by name wins.
CNI has no configuration that is out of use:
  calico.cni_absent:
    - require:
      - sls: calico.service
{%- if calico.cni.enabled is not sameas false %}
      - file: CNI is configured
{%- endif %}
