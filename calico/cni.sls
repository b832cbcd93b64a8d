# CNI hands pods to Calico: once calico-node runs, and no longer than the pillar says so.
{%- from "calico/map.jinja" import calico, cni with context %}

include:
  - calico.service

{%- if calico.cni.enabled is not sameas false %}

# Whoever may write in one of these may put a file of his own in the place of ours.
Directories of CNI's files are root's:
  file.directory:
    - names: {{ cni.directories | json }}
    - user: root
    - group: root
    - mode: '0755'
    - makedirs: true
    - require:
      - sls: calico.service

CNI is configured:
  file.managed:
    - name: {{ cni.path | json }}
    - source: salt://calico/files/cni.conf.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: true
    - dir_mode: '0755'
    - require:
      - file: Directories of CNI's files are root's
{%- endif %}

# Of another release, of another directory, or of a time when it was switched on: the first by name wins.
CNI has no configuration that is out of use:
  calico.cni_absent:
    - require:
      - sls: calico.service
{%- if calico.cni.enabled is not sameas false %}
      - file: CNI is configured
{%- endif %}
