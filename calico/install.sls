# Image, calicoctl and CNI plugins are on the host, and it forwards packets.
{%- from "calico/map.jinja" import calico, ipv6 with context %}

include:
  - calico.preflight

# First of all changes, and all others require it: where the image cannot be had, nothing else is touched.
calico/node's image is on the host:
  calico.image_present:
    - require:
      - sls: calico.preflight

{%- if calico.calicoctl.source %}

calicoctl is installed:
  file.managed:
    - name: {{ calico.calicoctl.path | json }}
    - source: {{ calico.calicoctl.source | json }}
    - source_hash: {{ calico.calicoctl.source_hash | json }}
    - user: root
    - group: root
    - mode: '0755'
    - makedirs: true
    # Salt would hash all of it in every run.
    - unless:
      - fun: calico.calicoctl_current
    - require:
      - calico: calico/node's image is on the host
{%- endif %}

{%- if calico.cni.enabled and calico.cni.plugins.source %}

CNI plugins are installed:
  calico.plugins_present:
    - require:
      - calico: calico/node's image is on the host
{%- endif %}

The host forwards packets:
  sysctl.present:
    - names:
      - net.ipv4.ip_forward
{%- if ipv6 %}
      - net.ipv6.conf.all.forwarding
{%- endif %}
    - value: 1
    - config: /etc/sysctl.d/60-calico.conf
    - require:
      - calico: calico/node's image is on the host

# sysctl writes into the file as it finds it, whoever it belongs to. In test mode there may be none yet: then
# nothing is announced that sysctl will have done.
The host's setting is root's:
  file.managed:
    - name: /etc/sysctl.d/60-calico.conf
    - replace: false
    - create: false
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - sysctl: The host forwards packets

{%- if calico.forwarding.accept is sameas true %}

# The unit does it again before each start; here it is done where calico-node runs on.
Packets of workloads are accepted:
  calico.forwarding_accepted:
    - require:
      - calico: calico/node's image is on the host
{%- endif %}

Directories that calico-node mounts exist:
  file.directory:
    - names:
      - /var/log/calico
      - /var/run/calico
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - calico: calico/node's image is on the host
