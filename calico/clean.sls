# What calico.init made on the host is gone, in reverse order; nothing else is touched.
{%- from "calico/map.jinja" import calico, certificates, cni with context %}

include:
  - calico.preflight

{%- if calico.clean.datastore is sameas true %}

# Asked first: refused later, calico-node would have been stopped for nothing.
The node has no workloads:
  calico.node_unused:
    - failhard: true
    - require:
      - sls: calico.preflight
{%- endif %}

calico-node is stopped:
  service.dead:
    - name: calico-node
    - enable: false
    - require:
      - sls: calico.preflight

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
{%- if calico.calicoctl.source %}
      - {{ calico.calicoctl.path | json }}
{%- endif %}
    - require:
      - calico: calico-node's container is gone
{%- if calico.clean.datastore is sameas true %}
      - calico: The node has left the cluster
{%- endif %}

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
    - service.systemctl_reload: []
    - onchanges:
      - file: /etc/systemd/system/calico-node.service

Directories that only held calico-node's files are gone:
  calico.empty_directory_absent:
    - names:
      - /etc/calico/ssl
      - /etc/calico
      - /var/lib/calico
    - require:
      - file: calico-node's files are gone
