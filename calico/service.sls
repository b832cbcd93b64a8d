# calico-node runs, from the files as they are now.
{%- from "calico/map.jinja" import certificates with context %}

include:
  - calico.config

# Salt reloads systemd where a loaded unit changed, but not where one came back that had been removed.
systemd has read calico-node's unit:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: calico-node's unit is written

# Says so also where an earlier run changed the files and was ended before it could restart anything. It is
# watched in place of the environment's file: that also has what only the first node of a cluster uses.
calico-node's container is current:
  calico.container_current:
    - require:
      - sls: calico.config

calico-node is running:
  service.running:
    - name: calico-node
    - enable: true
    - require:
      - file: calico-node's environment is written
    - watch:
      - file: calico-node's unit is written
{%- for certificate in certificates %}
      - file: etcd's {{ certificate.part }} is installed
{%- endfor %}
      - calico: calico/node's image is on the host
      - calico: calico-node's container is current

calico-node has registered:
  calico.node_registered:
    - onchanges:
      - service: calico-node is running
