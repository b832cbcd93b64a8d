# Certificates, calicoctl.cfg, environment and unit are as the pillar says.
{%- from "calico/map.jinja" import calico, certificates with context %}

include:
  - calico.install

# Before the first of them changes: calico:on_failure may ask for what runs now.
What runs can be restored:
  calico.restorable:
    - require:
      - sls: calico.install

# Whoever may write in one of these may put a file of his own in the place of ours.
Directories of Calico's files are root's:
  file.directory:
    - names:
      - /etc/calico
      - /etc/calico/ssl
    - user: root
    - group: root
    - mode: '0755'
    - makedirs: true
    - require:
      - calico: What runs can be restored

{%- for certificate in certificates %}

etcd's {{ certificate.part }} is installed:
  file.managed:
    - name: {{ certificate.path }}
{%-   if "-----BEGIN " in certificate.given %}
    - contents_pillar: calico:etcd:tls:{{ certificate.part }}
{%-   else %}
    - source: {{ certificate.given | json }}
{%-   endif %}
    - user: root
    - group: root
    - mode: '{{ "0600" if certificate.part == "key" else "0644" }}'
    - makedirs: true
    - dir_mode: '0755'
    - show_changes: {{ certificate.part != "key" }}
    - require:
      - file: Directories of Calico's files are root's
{%- endfor %}

calicoctl knows the datastore:
  file.managed:
    - name: /etc/calico/calicoctl.cfg
    - source: salt://calico/files/calicoctl.cfg.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '{{ "0600" if calico.etcd.password else "0644" }}'
    - show_changes: {{ not calico.etcd.password }}
    - makedirs: true
    - dir_mode: '0755'
    - require:
      - file: Directories of Calico's files are root's

calico-node's environment is written:
  file.managed:
    - name: /etc/calico/calico-node.env
    - source: salt://calico/files/calico-node.env.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0600'
    - makedirs: true
    - dir_mode: '0755'
    - show_changes: false
    - require:
      - file: Directories of Calico's files are root's

calico-node's unit is written:
  file.managed:
    - name: /etc/systemd/system/calico-node.service
    - source: salt://calico/files/calico-node.service.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - calico: What runs can be restored
