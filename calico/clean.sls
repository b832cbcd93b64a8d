# What calico.init made on the host is gone, in reverse order; nothing else is touched.
{%- from "calico/map.jinja" import calico, certificates, cni with context %}

include:
  - calico.modules

# Neither the host nor the datastore need be well; but a wrong pillar could not tell what is the formula's.
The settings are right:
  calico.checked:
    - host: false

{%- if calico.clean.datastore is sameas true %}

# Asked first: refused later, calico-node would have been stopped for nothing.
The node has no workloads:
  calico.node_unused:
    - require:
      - calico: The settings are right
{%- endif %}

calico-node is stopped:
  service.dead:
    - name: calico-node
    - enable: false
    - require:
      - calico: The settings are right
{%- if calico.clean.datastore is sameas true %}
      - calico: The node has no workloads
{%- endif %}

# ExecStop removes the container; this one was started by hand or left over from a crash.
calico-node's container is gone:
  calico.container_absent:
    - require:
      - service: calico-node is stopped

{%- if calico.clean.datastore is sameas true %}

The node has left the cluster:
  calico.node_absent:
    - require:
      - calico: calico-node's container is gone
{%- endif %}

calico-node's files are gone:
  file.absent:
    - names:
      - /etc/systemd/system/calico-node.service
      - /etc/calico/calico-node.env
      - /etc/calico/calicoctl.cfg
      - /etc/sysctl.d/60-calico.conf
      # The last good files, keys among them.
      - /var/lib/calico-formula
      # What calico/node of Calico 3 leaves there for the CNI plugin.
      - /var/lib/calico/nodename
      - /var/lib/calico/mtu
{%- if calico.cni.enabled is not sameas false %}
      - {{ cni.path | json }}
{%- endif %}
{%- for certificate in certificates %}
      - {{ certificate.path }}
{%- endfor %}
{#- A directory that was given by mistake would go with all that others have in it. #}
{%- if calico.calicoctl.source and calico.calicoctl.path is string
       and not salt["file.directory_exists"](calico.calicoctl.path) %}
      - {{ calico.calicoctl.path | json }}
{%- endif %}
    - require:
      - calico: calico-node's container is gone
{%- if calico.clean.datastore is sameas true %}
      - calico: The node has left the cluster
{%- endif %}

# Of BIRD, and of libnetwork (2.6), which docker would ask.
Sockets that outlive calico-node are gone:
  calico.socket_absent:
    - names:
      - /var/run/calico/bird.ctl
      - /var/run/calico/bird6.ctl
      - /run/docker/plugins/calico.sock
      - /run/docker/plugins/calico-ipam.sock
    - require:
      - calico: calico-node's container is gone

# Also where it was switched off since.
CNI has no configuration of Calico's:
  calico.cni_absent:
    - require:
      - calico: calico-node's container is gone

{%- if calico.cni.enabled and calico.cni.plugins.source %}

CNI plugins are gone:
  calico.plugins_absent:
    - require:
      - calico: calico-node's container is gone
{%- endif %}

systemd has forgotten calico-node:
  module.run:
    - calico.forget_unit: []
    - onchanges:
      - file: /etc/systemd/system/calico-node.service

Directories that only held calico-node's files are gone:
  calico.empty_directory_absent:
    - names:
      - /etc/calico/ssl
      - /etc/calico
      - /var/lib/calico
      - /var/run/calico
    - require:
      - file: calico-node's files are gone
      - calico: Sockets that outlive calico-node are gone
