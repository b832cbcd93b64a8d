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
# watched in place of the unit and the environment's file: these also have what is nothing to a container that runs.
calico-node's container is current:
  calico.container_current:
    - require:
      - sls: calico.config

# Restarted for what a running container has read, and for nothing else: not where its files were written anew
# and say the same to it.
calico-node is running:
  service.running:
    - name: calico-node
    - enable: true
    - watch:
{%- for certificate in certificates %}
      - file: etcd's {{ certificate.part }} is installed
{%- endfor %}
      - calico: calico-node's container is current
    - require:
      - file: calico-node's environment is written
      - module: systemd has read calico-node's unit

calico-node has registered:
  calico.node_registered:
    - onchanges:
      - service: calico-node is running
